"""The HTTP session to a DICOMweb service: whom it believes, who we are, how much it takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from spine_monai.pacs.config import DicomWeb
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError
from spine_monai.pacs.tls import check_authority, check_pair

LOOPBACK = ("127.0.0.1", "::1", "localhost")
RIGHTS = {
    401: "it does not know us: check `user` and `password`, or `token`",
    403: "it does not let us do this",
    404: "it does not have what was asked for",
}
PASSING = (408, 425, 429)  # too early, too much


class Meter:
    """Bounds what one answer may hold, and sees whether it came to its end.

    Args:
        most: bytes between two calls of ``reset``.
    """

    def __init__(self, most: float) -> None:
        self.most = most
        self.is_multipart, self.is_over, self.tail = False, False, b""
        self._count = 0
        self._response: requests.Response | None = None

    def end(self) -> None:
        """Close the last answer, as one that is not read to its end keeps its connection."""
        if self._response is not None:
            self._response.close()

    def reset(self) -> None:
        """Begin anew: an object has been taken out."""
        self._count = 0

    @property
    def is_torn(self) -> bool:
        """Whether a multipart answer ended before its last line."""
        return self.is_multipart and self.is_over and not self.tail.rstrip().endswith(b"--")

    def watch(self, response: requests.Response, **_: Any) -> requests.Response:
        """Count what is read of an answer; a hook of the session, called before the reading."""
        kind = response.headers.get("Content-Type", "").lower()
        self.is_multipart, self.is_over, self.tail = kind.startswith("multipart"), False, b""
        self.reset()
        self._response = response
        read = response.iter_content

        def counted(*arguments: Any, **options: Any) -> Iterator[bytes]:
            for chunk in read(*arguments, **options):
                self._add(chunk)
                yield chunk
            self.is_over = True

        response.iter_content = counted  # type: ignore[method-assign]
        return response

    def _add(self, chunk: bytes) -> None:
        self._count += len(chunk)
        self.tail = (self.tail + chunk)[-80:]
        if self._count > self.most:
            self.end()
            msg = f"an answer must have at most {self.most / 1e6:g} MB for one object, "
            msg += "node.max_object_mb: a larger one came."
            raise RemoteRefusalError(msg)


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def open_session(service: DicomWeb, meter: Meter) -> requests.Session:
    """Return a session that asks nobody but the configuration whom to believe and who we are.

    Raises:
        ValueError: a secret is missing or would go over the network in the clear, or a certificate
            cannot be used.
    """
    session = requests.Session()
    session.trust_env = False  # else REQUESTS_CA_BUNDLE and .netrc overrule what stands here
    session.hooks["response"].append(meter.watch)
    if service.authority is not None:
        check_authority(service.authority)
        session.verify = str(service.authority)
    if service.certificate is not None and service.key is not None:
        check_pair(service.certificate, service.key)
        session.cert = (str(service.certificate), str(service.key))
    session.auth = _auth(service)
    return session


def _auth(service: DicomWeb) -> AuthBase | None:
    if service.password is None and service.token is None:
        return None
    address = urlsplit(service.url)
    if address.scheme != "https" and address.hostname not in LOOPBACK:
        msg = f"{service.url} must begin with https: a secret would go over the network in the "
        msg += "clear."
        raise ValueError(msg)
    if service.token is not None:
        return _Bearer(service.token.read())
    password = service.password.read() if service.password is not None else ""
    return HTTPBasicAuth(str(service.user).encode(), password.encode())


@contextmanager
def worded(service: DicomWeb) -> Iterator[None]:
    """Put what requests raises into our words: its own quote addresses that hold UIDs.

    Raises:
        RemoteAwayError: the service cannot be reached, went away, or has trouble of its own.
        RemoteRefusalError: it does not do what it was asked.
    """
    try:
        yield
    except requests.exceptions.HTTPError as error:
        error.response.close()
        raise status_error(service, error.response.status_code) from None
    except requests.exceptions.SSLError:
        msg = f"{service.url} must show a certificate that `authority` has signed, and take ours."
        raise RemoteRefusalError(msg) from None
    except requests.exceptions.InvalidJSONError:
        msg = f"{service.url} must answer with DICOM JSON: it answered something else."
        raise RemoteRefusalError(msg) from None
    except requests.exceptions.RequestException as error:
        msg = f"{service.url} does not answer, or went away: {type(error).__name__}."
        raise RemoteAwayError(msg) from None


def status_error(service: DicomWeb, code: int) -> Exception:
    """Return what to raise for an HTTP status that is no success."""
    if code >= 500 or code in PASSING:
        return RemoteAwayError(f"{service.url} has trouble of its own (HTTP {code}).")
    reason = RIGHTS.get(code, "it does not do what it was asked")
    return RemoteRefusalError(f"{service.url}: {reason} (HTTP {code}).")
