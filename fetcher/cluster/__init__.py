"""One run over many machines: a cluster runs shards, and the truth about each is in the run's output.

A shard is a run directory with its share of the hosts, on the local disk of whichever worker runs it. What
must outlast that worker is in the output, a folder that all share or an object store: bodies, and the
journal in numbered segments that are never changed.

Who may write is settled by epochs and leases (`shard_log`, `lease`): each start of a shard takes the next
epoch, and says which segments of the earlier ones count. `checkpoints` writes segments and publishes the
bodies that they name; `restore` makes the state of a shard anew from them. `shard_run` is one shard on a
worker, `cluster_plugin` all those of a worker process. `cluster_download` is the client: it divides the
list (`list_division`), hands out shards, limits (`totals`) and links between shards, and joins the records.

Dask's `distributed` does the rest: it knows workers, places tasks on them, and notices when one is gone.
"""
