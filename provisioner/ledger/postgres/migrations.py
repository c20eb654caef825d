"""The schema of a PostgreSQL ledger, as the list of steps that lead to it.

The steps that a ledger lacks commit together with their number in ``meta``: a process that is killed leaves the ledger
as it was, or a whole one. A step that has been released is never edited: a change of the schema is a new step at the
end. Names are compared and sorted by code point (``COLLATE "C"``), as everywhere in the product, whatever the locale of
the database.
"""

from __future__ import annotations

_KEY = 'text COLLATE "C" NOT NULL'

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"""CREATE TABLE entries (
            target {_KEY},
            name {_KEY},
            state text NOT NULL CHECK (state IN
                ('planned', 'sent', 'created', 'failed', 'parked', 'ambiguous', 'drifted', 'deleted')),
            digest text NOT NULL,
            tags_digest text NOT NULL,
            arn {_KEY},
            attempt text NOT NULL,
            sent json,
            updated_at double precision NOT NULL,
            run_id text NOT NULL,
            code text NOT NULL,
            message text NOT NULL,
            tag_keys text NOT NULL,
            request_id text NOT NULL,
            PRIMARY KEY (target, name)
        )""",
        """CREATE UNIQUE INDEX entries_by_arn ON entries (arn)
            WHERE state IN ('created', 'drifted') AND arn <> ''""",
        # Start-up and reconcile ask for the few entries that are not finished among the many that are.
        "CREATE INDEX entries_unfinished ON entries (target, name, state) WHERE state <> 'created'",
        f"""CREATE TABLE runs (
            run_id {_KEY} PRIMARY KEY,
            command text NOT NULL,
            started_at double precision NOT NULL,
            ended_at double precision,
            exit_code integer,
            summary bytea NOT NULL
        )""",
        f"""CREATE TABLE problems (
            run_id {_KEY},
            seq bigint NOT NULL,
            source text NOT NULL,
            line bigint NOT NULL,
            name text NOT NULL,
            code text NOT NULL,
            message text NOT NULL,
            column_ bigint NOT NULL,
            target text NOT NULL,
            severity text NOT NULL,
            PRIMARY KEY (run_id, seq)
        )""",
        f"""CREATE TABLE paces (
            target {_KEY},
            family {_KEY},
            state bytea NOT NULL,
            PRIMARY KEY (target, family)
        )""",
        f"""CREATE TABLE places (
            target {_KEY} PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('aws', 'custom', 'embedded')),
            region text NOT NULL,
            account_id text NOT NULL
        )""",
        f"""CREATE TABLE finished (
            target {_KEY} PRIMARY KEY,
            fingerprint text NOT NULL,
            changes bigint NOT NULL,
            lines bigint NOT NULL
        )""",
        # How many commits have had facts about a target.
        f"""CREATE TABLE changes (
            target {_KEY} PRIMARY KEY,
            commits bigint NOT NULL
        )""",
        # One row, from the first run on.
        """CREATE TABLE lease (
            id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
            epoch bigint NOT NULL,
            nonce text NOT NULL,
            holder text NOT NULL,
            taken_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            commits bigint NOT NULL
        )""",
    ),
    (
        # Replacements, older versions and history: few rows beside the entries.
        f"""CREATE TABLE incoming (
            target {_KEY},
            name {_KEY},
            state text NOT NULL CHECK (state IN ('planned', 'sent', 'failed', 'parked', 'ambiguous')),
            digest text NOT NULL,
            tags_digest text NOT NULL,
            arn text NOT NULL,
            attempt text NOT NULL,
            sent json,
            updated_at double precision NOT NULL,
            run_id text NOT NULL,
            code text NOT NULL,
            message text NOT NULL,
            tag_keys text NOT NULL,
            request_id text NOT NULL,
            PRIMARY KEY (target, name)
        )""",
        f"""CREATE TABLE versions (
            arn {_KEY} PRIMARY KEY,
            target {_KEY},
            name {_KEY},
            role text NOT NULL CHECK (role IN ('superseded', 'deleted')),
            reason text NOT NULL,
            digest text NOT NULL,
            tags_digest text NOT NULL,
            attempt text NOT NULL,
            deletion text NOT NULL,
            sent json,
            updated_at double precision NOT NULL,
            run_id text NOT NULL,
            code text NOT NULL,
            message text NOT NULL,
            request_id text NOT NULL
        )""",
        "CREATE INDEX versions_by_name ON versions (target, name)",
        "CREATE INDEX versions_superseded ON versions (target, name) WHERE role = 'superseded'",
        f"""CREATE TABLE history (
            seq bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
            target {_KEY},
            name {_KEY},
            at double precision NOT NULL,
            run_id {_KEY},
            event text NOT NULL,
            arn text NOT NULL,
            attempt text NOT NULL,
            code text NOT NULL,
            message text NOT NULL,
            request_id text NOT NULL
        )""",
        "CREATE INDEX history_by_name ON history (target, name)",
        "CREATE INDEX history_by_run ON history (run_id)",
    ),
    # Beside the runs, whose table is listed: a row of samples may have a hundred kilobytes.
    (f"CREATE TABLE samples (run_id {_KEY} PRIMARY KEY, samples bytea NOT NULL)",),
    (
        f"""CREATE TABLE pauses (
            target {_KEY} PRIMARY KEY,
            until double precision NOT NULL,
            since double precision NOT NULL,
            reason text NOT NULL
        )""",
    ),
    (
        # A lease for each target in place of one for all; see lease.py.
        """CREATE TABLE workers (
            nonce text COLLATE "C" PRIMARY KEY,
            holder text NOT NULL,
            began_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            everything boolean NOT NULL,
            run_id text NOT NULL,
            commits bigint NOT NULL,
            lost bigint NOT NULL
        )""",
        f"""CREATE TABLE leases (
            target {_KEY} PRIMARY KEY,
            epoch bigint NOT NULL,
            worker text COLLATE "C" NOT NULL
        )""",
        "CREATE INDEX leases_by_worker ON leases (worker)",
        "DROP TABLE lease",
    ),
    (
        # What several workers do together; see jobs.py.
        f"""CREATE TABLE jobs (
            job {_KEY} PRIMARY KEY,
            fingerprint text NOT NULL,
            began_at double precision NOT NULL
        )""",
        f"""CREATE TABLE job_targets (
            job {_KEY} REFERENCES jobs ON DELETE CASCADE,
            target {_KEY},
            result json,
            PRIMARY KEY (job, target)
        )""",
        f"""CREATE TABLE job_runs (
            job {_KEY} REFERENCES jobs ON DELETE CASCADE,
            run_id {_KEY},
            PRIMARY KEY (job, run_id)
        )""",
        "CREATE INDEX job_runs_by_run ON job_runs (run_id)",
    ),
)

SCHEMA_VERSION = len(MIGRATIONS)

ROWS = (
    *("entries", "incoming", "versions", "history", "runs", "problems"),
    *("samples", "paces", "places", "pauses", "finished", "changes"),
)
"""The tables that hold what runs have recorded."""
