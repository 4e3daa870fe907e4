"""Worker processes: a supervisor that owns what is durable, and a pool of processes that fetch for it.

The supervisor's `WorkerPool` is the run's pool: it hands claimed jobs to workers and gets outcomes back, in
frames of many over socket pairs. A worker is an engine without a frontier: it does the scheduling of its
hosts, the exchanges, bodies and files. `fetcher.worker_main` puts one together.

Every limit is a total. Concurrency and the limits of hosts are divided once; rate and bandwidth go to
the workers that have work. A host that can't be divided (a delay, a rate, a limit below the number of
workers) belongs to one worker, chosen by its name, and a redirect to it is handed over.
"""

from fetcher.processes.partition import Partition
from fetcher.processes.remote_frontier import RemoteFrontier
from fetcher.processes.supervisor import Launch, WorkerPool

__all__ = ["Launch", "Partition", "RemoteFrontier", "WorkerPool"]
