#!/usr/bin/env python3
"""Apache Kafka for the tests: its jars, fetched by Maven into .tools/kafka, when they are missing.

    python3 deploy/setup/kafka_jars.py

Needs Java 17 or newer and mvn. Without them it says what to install and ends with 0: the tests
that need Kafka are skipped then; those that kill no broker run where KAFKA_BOOTSTRAP names one. In
CI it ends with 2. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "deploy" / "kafka-dev" / "pom.xml"
KEPT_IN = ROOT / ".tools" / "kafka"
JAVA = 17
INSTRUCTION = (
    "sudo apt-get update && sudo apt-get install --yes --no-install-recommends "
    "openjdk-17-jre-headless maven && make tools"
)


def version() -> str:
    """The pinned version, as the pom has it."""
    found = re.search(r"<kafka.version>([\d.]+)</", POM.read_text(encoding="utf-8"))
    return found.group(1) if found else "unknown"


def jars() -> Path | None:
    """The folder of the jars, or None when they aren't here."""
    folder = KEPT_IN / version()
    return folder if folder.is_dir() else None


def java() -> str | None:
    """The path of a Java that Kafka runs on, or None. `JAVA_HOME` wins."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        return None
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    number = re.search(r'version "(\d+)', told.stderr)
    return found if number and int(number.group(1)) >= JAVA else None


def main() -> int:
    if jars() is not None and java() is not None:
        return 0
    lacking = [name for name, found in (("Java 17", java()), ("mvn", _maven())) if not found]
    if lacking:
        status = 2 if os.environ.get("CI", "").lower() not in ("", "0", "false", "no") else 0
        named = os.environ.get("KAFKA_BOOTSTRAP", "")
        what = f"those that kill no broker use {named}, the others" if named else "its tests"
        print(f"[tools] no Apache Kafka: {' and '.join(lacking)} missing; {what} are skipped")
        also = "" if named else "; most also run on a Kafka that KAFKA_BOOTSTRAP names"
        print(f"[tools] to run them: {INSTRUCTION}{also}", flush=True)
        return status
    return _fetch()


def _maven() -> str | None:
    return shutil.which("mvn")


def _fetch() -> int:
    """Into a folder of its own, renamed when it is whole."""
    print(f"[tools] fetching Apache Kafka {version()} (about 45 MB) by Maven", flush=True)
    half = KEPT_IN / f"{version()}.part"
    shutil.rmtree(half, ignore_errors=True)
    # Strict: a jar whose checksum is wrong is refused.
    command = [
        "mvn", "--batch-mode", "--strict-checksums", "--file", str(POM), f"-Dkafka.jars={half}",
        "package",
    ]  # fmt: skip
    tail: list[str] = []
    fetched = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        for line in child.stdout or ():
            tail = [*tail[-9:], line]
            fetched += line.startswith("Downloaded") or "] Downloaded" in line
            if fetched and fetched % 20 == 0 and "Downloaded" in line:
                print(f"[tools] {fetched} files", flush=True)
    if child.returncode:
        print("".join(tail), file=sys.stderr)
        print("tools: Maven didn't bring Kafka; is its repository reached?", file=sys.stderr)
        return 2
    half.rename(KEPT_IN / version())
    return 0


if __name__ == "__main__":
    sys.exit(main())
