"""A Celery task that takes its time, and tells whoever watches how far it is."""

import contextlib
import os
import time
from typing import Any

from celery import Celery, Task

from shoal import BrokerError, SyncEmitter

REDIS = os.environ.get("REDIS", "redis://127.0.0.1:6379")

queue = Celery("tasks", broker=REDIS, backend=REDIS)
queue.conf.broker_connection_retry_on_startup = True
emitter = SyncEmitter(REDIS, request_timeout=1)  # it connects at first use, in each process that the pool forks


def tell(job: str, event: str, *args: Any) -> None:
    with contextlib.suppress(BrokerError):  # the work goes on; a page that comes back asks for the state
        emitter.to(f"job:{job}").emit(event, *args)


class Watched(Task):
    """A task whose end is told too. Celery has stored its result before it calls these."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        tell(task_id, "done", retval)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        tell(task_id, "failed", str(exc))


@queue.task(base=Watched, bind=True)
def resize(self: Any, pictures: int) -> str:
    for done in range(1, pictures + 1):
        time.sleep(0.2)  # the work
        progress = {"done": done, "of": pictures}
        self.update_state(state="PROGRESS", meta=progress)  # for those who come later
        tell(self.request.id, "progress", progress)
    return f"{pictures} pictures"
