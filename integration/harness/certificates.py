"""Certificates of the tests' own: a root that clients are told to trust, and what it signed for 127.0.0.1."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ADDRESSES = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n"


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass
class Issued:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A root of trust for one run."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="bedgate-certificates-"))
        self.root, self._key = self.folder / "root.pem", self.folder / "root.key"
        self._make_key(self._key)
        _openssl(
            "req", "-x509", "-new", "-key", self._key, "-days", 2, "-subj", "/CN=root of the tests", "-out", self.root,
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    @staticmethod
    def _make_key(path: Path) -> None:
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)

    def issue(self, name: str) -> Issued:
        """A certificate for 127.0.0.1 whose common name is `name`."""
        made = Issued(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(ADDRESSES)
        self._make_key(made.key)
        _openssl("req", "-new", "-key", made.key, "-subj", f"/CN={name}", "-out", request)
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self._key, "-CAcreateserial", "-days", 2,
            "-extfile", extensions, "-out", made.certificate,
        )  # fmt: skip
        return made
