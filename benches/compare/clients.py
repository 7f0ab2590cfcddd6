"""Several clients of one peer at the same time, as threads of the peer program.

Knows nothing about any peer, and needs only the standard library.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


def share(n: int, clients: Sequence[Any], do: Callable[[Any, int], None]) -> float:
    """Seconds until `do(client, number)` was called for all numbers below `n`, which the clients share evenly.

    Raises the first failure of any client, after all have ended.
    """
    failures: list[Exception] = []

    def own(first: int, client: Any) -> None:
        try:
            for number in range(first, n, len(clients)):
                do(client, number)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=own, args=each) for each in enumerate(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    if failures:
        raise failures[0]
    return seconds
