"""`kubectl neuron`: what a configuration will be, before anything is started, and what has become of a job.

    files/   plan, convert, --explain: a file and no cluster; they start at once (docs/plan.md has figures)
    live/    status, why, logs, checkpoints, suspend, resume: a job of a cluster, through `live.connection`
    jobs/    list, top, describe, -o json: jobs as data and as tables
    submission/ submit: a job from a file;  dashboard/ the page in the browser;  completion: for kubectl's own
    completion_scripts: the same for shells that have no kubectl

Each command imports what it needs when it runs. What a live command says is worked out from a `live.job_snapshot` by
pure functions.
"""
