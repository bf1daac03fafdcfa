"""A command on a network of its own, where nothing but the loopback interface is."""

import functools
import os
import subprocess

UP = 'ip link set lo up && exec "$@"'


@functools.cache
def unshare() -> list[str] | None:
    """How a network of one's own is had here; None if it is not."""
    for command in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if subprocess.run([*command, "sh", "-c", "ip link set lo up"], capture_output=True).returncode == 0:
            return command
    return None


def run_alone(
    command: list[str], env: dict[str, str], cwd: str | os.PathLike, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs a command without a route to anywhere."""
    own_network = unshare()
    assert own_network is not None, "this machine gives no network namespaces"
    return subprocess.run(
        [*own_network, "sh", "-c", UP, "sh", *command],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
