"""Worker processes: one parent that owns what is durable, and a crew of processes that fetch for it.

The parent's `Fleet` is the run's crew: it hands claimed jobs to workers and gets outcomes back, in frames
of many over socket pairs. A worker is an engine without a frontier: it does the scheduling of its hosts,
the exchanges, bodies and files. `fetcher.worker` puts one together.

Every limit is a total. Concurrency and the limits of hosts are divided once; rate and bandwidth go to
the workers that have work. A host that can't be divided (a delay, a rate, a limit below the number of
workers) belongs to one worker, chosen by its name, and a redirect to it is handed over.
"""

from fetcher.processes.fleet import Fleet, Launch
from fetcher.processes.link import ParentFrontier
from fetcher.processes.shares import Shares

__all__ = ["Fleet", "Launch", "ParentFrontier", "Shares"]
