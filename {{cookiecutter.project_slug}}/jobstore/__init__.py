"""APScheduler jobs and their history in the Django database, run by one active scheduler.

For your code: `registry` (declare jobs), `api` (change them), `testing` (test them), `runs` (which
run is this?), `jobstores` (for any APScheduler 3 scheduler), `models`, `util`, `housekeeping`.

The path of a run, a folder for each station:

    declarations  from @scheduled functions to stored jobs
    storage       a job and its row: signed state, keys, quarantine
    leadership    which process may run jobs: the lease
    claims        from a due job to a claimed run
    execution     from a claimed run to its end
    history       from the end of a run to its row

Around it: `process` (the scheduler), `health`, `admin`, `checks`, `importer`,
`templatetags`; below it: `database`, `schedules`, `conf`. docs/architecture.md walks through it.
"""
