"""TLS contexts: what they demand, and what is wrong with files that cannot be used."""

import ssl

import pytest
import trustme
from pacs_servers import Certificates

from spine_monai.pacs.config import Tls
from spine_monai.pacs.tls import check_authority, client_context, server_context


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


def test_both_sides_demand_a_certificate_and_tls_1_2(issued):
    for context in (
        client_context(Tls(**issued.tls("client"))),
        server_context(Tls(**issued.tls("server"))),
    ):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context(Tls(**issued.tls())).check_hostname


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_is_refused(certificates, mode):
    certificates.client[1].chmod(mode)
    with pytest.raises(ValueError, match=f"by its owner alone: expected mode 600, got {mode:o}"):
        client_context(Tls(**certificates.tls()))


def test_a_key_of_another_certificate_is_refused(issued):
    tls = issued.tls() | {"key": issued.tls("server")["key"]}
    with pytest.raises(ValueError, match="must be PEM files that belong together"):
        client_context(Tls(**tls))


def test_a_key_with_a_password_is_refused_without_asking_for_it(certificates):
    from cryptography.hazmat.primitives import serialization as s

    path = certificates.client[1]
    key = s.load_pem_private_key(path.read_bytes(), None)
    shut = s.BestAvailableEncryption(b"Geheim-4711")
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, shut))
    with pytest.raises(ValueError, match="without a password"):
        client_context(Tls(**certificates.tls()))


def test_an_authority_that_is_none_is_refused(tmp_path):
    (tmp_path / "authority.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="must be a PEM file of certificates"):
        check_authority(tmp_path / "authority.pem")


def test_an_authority_is_believed(tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "authority.pem")
    check_authority(tmp_path / "authority.pem")
