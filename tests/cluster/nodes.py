"""A Ray cluster on the loopback interface, in a process of its own: one raylet a node, engines as the resource says.

`python nodes.py ENGINES [ENGINES ...]` starts a head without engines and a node for each number, and prints the
address. Then it takes orders, one a line: `kill N` ends node N as a power cut would, `add ENGINES` starts another;
each is answered with a line. It ends with its standard input.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_timeout_ms": 1000}


class Nodes:
    """The test's side."""

    def __init__(self, *engines: int) -> None:
        command = [sys.executable, __file__, *map(str, engines)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.address = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the cluster did not start"
        return line

    def order(self, text: str) -> None:
        """Give an order and wait until it is carried out."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        self._line()

    def close(self) -> None:
        """End all nodes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()


def main(engines: list[int]) -> None:
    import logging

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray._private.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    hosts = (f"127.0.0.{n}" for n in range(2, 250))  # of the loopback interface, all of them
    small = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **small,
            "node_ip_address": next(hosts),
            "resources": {"bitparity": 0},
            "_system_config": HEALTH,
        },
    )
    Path(get_ray_address_file(None)).unlink(missing_ok=True)  # nobody else's `--ray auto` is to find it
    nodes: list[Any] = []

    def add(count: int) -> None:
        nodes.append(cluster.add_node(**small, node_ip_address=next(hosts), resources={"bitparity": count}))

    for count in engines:
        add(count)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        what, number = line.split()
        if what == "add":
            add(int(number))
        else:
            cluster.remove_node(nodes[int(number)], allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    main([int(number) for number in sys.argv[1:]])
