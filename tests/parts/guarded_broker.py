"""Mosquitto with the shipped configuration for a site: TLS, passwords and an access list.

Keys and certificates are made for each test by openssl and never leave its folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.parts.mosquitto import Mosquitto
from tests.parts.tools import ROOT, find_tool

SHIPPED = ROOT / "deploy" / "mosquitto"


class Authority:
    """Signs the certificates of brokers on 127.0.0.1. file: its own certificate."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.file = self.folder / "ca.crt"
        _openssl(
            "req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.file, "-days", "2",
            "-subj", f"/CN={name}",
        )  # fmt: skip
        (self.folder / "ca.conf").write_text(
            f"""[ca]
default_ca = one
[one]
database = {self.folder}/index.txt
serial = {self.folder}/serial
new_certs_dir = {self.folder}
default_md = sha256
policy = any
x509_extensions = server
[any]
commonName = supplied
[server]
subjectAltName = IP:127.0.0.1
"""
        )
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("01\n")

    @property
    def _key(self) -> Path:
        return self.folder / "ca.key"

    def sign(self, name: str, *, until: str = "20991231000000Z") -> tuple[Path, Path]:
        """A server's (certificate, key), valid from 2020 `until` a time as YYYYMMDDHHMMSSZ."""
        made, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request = self.folder / f"{name}.csr"
        _openssl("req", "-new", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl(
            "ca", "-batch", "-notext", "-config", self.folder / "ca.conf", "-cert", self.file,
            "-keyfile", self._key, "-in", request, "-out", made,
            "-startdate", "20200101000000Z", "-enddate", until,
        )  # fmt: skip
        return made, key


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        [find_tool("openssl"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class GuardedMosquitto(Mosquitto):
    """passwords: by user name. `certificate` may be changed between two starts."""

    def __init__(
        self, folder: Path, certificate: tuple[Path, Path], passwords: dict[str, str]
    ) -> None:
        super().__init__(folder)
        self.certificate = certificate
        folder.mkdir(parents=True)
        self._passwords = folder / "gridwarden.passwords"
        self._passwords.touch(mode=0o600)
        for user, password in passwords.items():
            subprocess.run(
                [find_tool("mosquitto_passwd"), "-b", str(self._passwords), user, password],
                capture_output=True, check=True,
            )  # fmt: skip
        # It refuses, or says that it will, a list that isn't its user's own.
        shutil.copy(SHIPPED / "gridwarden.acl", folder)
        (folder / "gridwarden.acl").chmod(0o600)

    def _config(self) -> str:
        text = (SHIPPED / "gridwarden.conf").read_text(encoding="utf-8")
        for shipped, here in {
            "listener 8883": f"listener {self.port} {self.host}",
            "/etc/mosquitto/certs/broker.crt": str(self.certificate[0]),
            "/etc/mosquitto/certs/broker.key": str(self.certificate[1]),
            "/etc/mosquitto/gridwarden.passwords": str(self._passwords),
            "/etc/mosquitto/gridwarden.acl": str(self.folder / "gridwarden.acl"),
            "/var/lib/mosquitto/": f"{self.folder}/",
        }.items():
            assert shipped in text, f"gridwarden.conf has no {shipped} any more"
            text = text.replace(shipped, here)
        lines = [text, "log_dest stderr", "log_type all"]
        if os.geteuid() == 0:
            lines.append("user root")
        return "\n".join(lines) + "\n"
