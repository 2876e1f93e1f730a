"""What ``pacs.yaml`` says: who we are, whom we know, and what is done with what comes.

Passwords, tokens and keys stand in files or in the environment, never in it.
"""

import os
import re
from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
SeriesKey = str | tuple[str, ...]
ResultFormat = Literal["sr", "sc", "gsps"]


def check_aet(aet: str) -> str:
    """Return an application entity title, without spaces around it.

    Raises:
        ValueError: it is none by PS3.5.
    """
    aet = aet.strip()
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", aet):
        msg = "must be 1 to 16 printable ASCII characters without a backslash"
        raise ValueError(msg)
    return aet


Aet = Annotated[str, AfterValidator(check_aet)]


class Part(BaseModel):
    """A part of the file: no key but the named ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Part):
    """Our certificate, and whom we believe.

    Args:
        certificate: of ours, PEM.
        key: of the certificate, PEM, readable by us alone.
        authority: PEM of who must have signed the other side's certificate.
    """

    certificate: FilePath
    key: FilePath
    authority: FilePath


class Secret(Part):
    """Where a secret stands: the first line of a file, or a variable of the environment."""

    file: FilePath | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.file is None) == (self.env is None):
            msg = "must have either `file` or `env`"
            raise ValueError(msg)
        return self

    def read(self) -> str:
        """Return the secret.

        Raises:
            ValueError: there is none.
        """
        if self.file is not None:
            lines = self.file.read_text(encoding="utf-8").splitlines()
            secret, place = lines[0].strip() if lines else "", f"the first line of {self.file}"
        else:
            secret, place = os.environ.get(str(self.env), ""), f"the variable {self.env}"
        if not secret:
            msg = f"{place} must hold the secret: it is empty or not set."
            raise ValueError(msg)
        return secret


class Dimse(Part):
    """A DICOM node that we call.

    Args:
        aet: its title.
        host: its address.
        port: its port.
        tls: where it wants DICOM TLS.
        retrieve: how its objects come: on our own association, or by a second one to our node.
        timeout_s: for an answer.
    """

    aet: Aet
    host: str = "127.0.0.1"
    port: Port = 104
    tls: Tls | None = None
    retrieve: Literal["get", "move"] = "get"
    timeout_s: float = Field(30.0, gt=0)


class DicomWeb(Part):
    """A DICOMweb service that we call.

    Args:
        url: of the service, such as https://pacs.example/dicom-web.
        authority: PEM of who must have signed its certificate, if not the system's authorities.
        certificate: of ours, PEM, where it wants one.
        key: of our certificate.
        user: for basic authentication, with ``password``.
        password: of the user.
        token: for bearer authentication.
        timeout_s: for an answer.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]
    authority: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    timeout_s: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.user is None) != (self.password is None):
            msg = "`user` and `password` must go together"
            raise ValueError(msg)
        if self.user is not None and self.token is not None:
            msg = "must have either `user` and `password`, or `token`"
            raise ValueError(msg)
        if (self.certificate is None) != (self.key is None):
            msg = "`certificate` and `key` must go together"
            raise ValueError(msg)
        return self


class RemoteConfig(Part):
    """Another system: a DICOM node or a DICOMweb service."""

    dimse: Dimse | None = None
    dicomweb: DicomWeb | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.dimse is None) == (self.dicomweb is None):
            msg = "must have either `dimse` or `dicomweb`"
            raise ValueError(msg)
        return self

    @property
    def service(self) -> DicomWeb:
        """The DICOMweb service, where it is one."""
        if self.dicomweb is None:
            msg = "the remote must be a DICOMweb service: it is a DICOM node."
            raise ValueError(msg)
        return self.dicomweb


class Node(Part):
    """Who we are in the DICOM network, and who may call us.

    Args:
        aet: our title; whoever calls another one is refused.
        host: address to listen on.
        port: to listen on.
        allowed_calling_aets: who may call; nobody else is answered.
        tls: where callers must show a certificate.
        max_associations: at a time.
        max_object_mb: the largest object that is taken.
        timeout_s: after which a silent caller is dropped.
    """

    aet: Aet = "SPINE"
    host: str = "127.0.0.1"
    port: Port = 11112
    allowed_calling_aets: tuple[Aet, ...] = ()
    tls: Tls | None = None
    max_associations: int = Field(10, ge=1, le=1000)
    max_object_mb: float = Field(256.0, gt=0)
    timeout_s: float = Field(60.0, gt=0)


class Hours(Part):
    """A part of the day, which may reach over midnight; local time."""

    start: time
    end: time

    def holds(self, moment: time) -> bool:
        """Return whether a moment lies in it."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


class Pull(Part):
    """How studies are fetched.

    Args:
        remote: name of the system to ask.
        series: keys that a series must match before its pixels travel; several values as a list.
        objects_per_s: at most, on average; a clinical PACS has other work.
        hours: when to fetch; at any time where not given.
        max_tries: of a series that fails.
    """

    remote: str
    series: dict[str, SeriesKey] = Field(
        default_factory=lambda: dict[str, SeriesKey](Modality="MR")
    )
    objects_per_s: float | None = Field(None, gt=0)
    hours: Hours | None = None
    max_tries: int = Field(3, ge=1)


class Push(Part):
    """Where results are sent.

    Args:
        remote: name of the system.
        formats: which of a case's DICOM results.
    """

    remote: str
    formats: tuple[ResultFormat, ...] = Field(("sr", "sc", "gsps"), min_length=1)


class Serve(Part):
    """What the node does with what it receives.

    Args:
        folder: objects, results and the database of jobs.
        send_to: name of the system that gets the results; they stay here where not given.
        formats: what is made of a study, and sent.
        quiet_s: for how long nothing of a study must come before it is worked on.
        longest_wait_s: after which it is worked on though something still comes.
        workers: processes that localize.
        isolate_workers: ``auto`` takes the network from them where the system lets us,
            ``required`` refuses to start where it does not.
        max_tries: of a study that ends its process, or that the other system does not take for a
            reason of its own.
        retry_s: before a result that could not be sent is sent again; doubled each time.
        longest_retry_s: where the doubling ends.
        max_waiting_studies: beyond them objects are refused, for the sender to send again.
        min_free_mb: of the disk; objects are refused below it.
        keep_days: for how long objects of finished studies stay; for ever where not given.
        bundle: folder of a bundle; the shipped one where not given.
        device: to compute on.
    """

    folder: Path
    send_to: str | None = None
    formats: tuple[ResultFormat, ...] = Field(("sr", "sc", "gsps"), min_length=1)
    quiet_s: float = Field(60.0, ge=0)
    longest_wait_s: float = Field(5400.0, gt=0)
    workers: int = Field(1, ge=1, le=64)
    isolate_workers: Literal["auto", "required", "no"] = "auto"
    max_tries: int = Field(3, ge=1)
    retry_s: float = Field(10.0, gt=0)
    longest_retry_s: float = Field(900.0, gt=0)
    max_waiting_studies: int = Field(1000, ge=1)
    min_free_mb: float = Field(1000.0, ge=0)
    keep_days: float | None = Field(None, ge=0)
    bundle: Path | None = None
    device: str | None = None


class Watch(Part):
    """An Orthanc whose changes are followed, so that we need no open port.

    Args:
        url: of its REST interface.
        user: of its REST interface, with ``password``.
        password: of the user.
        authority: PEM of who must have signed its certificate.
        poll_s: between questions.
        timeout_s: for an answer.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]
    user: str | None = None
    password: Secret | None = None
    authority: FilePath | None = None
    poll_s: float = Field(5.0, gt=0)
    timeout_s: float = Field(30.0, gt=0)


class PacsConfig(Part):
    """The whole file."""

    node: Node = Node()
    remotes: dict[str, RemoteConfig] = Field(default_factory=dict)
    pull: Pull | None = None
    push: Push | None = None
    serve: Serve | None = None
    watch: Watch | None = None

    @model_validator(mode="after")
    def _knows_its_remotes(self) -> Self:
        named = {
            "pull": self.pull.remote if self.pull else None,
            "push": self.push.remote if self.push else None,
            "serve": self.serve.send_to if self.serve else None,
        }
        for part, name in named.items():
            if name is not None and name not in self.remotes:
                known = ", ".join(sorted(self.remotes)) or "none"
                msg = f"{part} names the remote {name}, which must be among `remotes`: {known}"
                raise ValueError(msg)
        return self
