"""The schema of a SQLite ledger, as the list of steps that lead to it.

The steps that a ledger lacks commit together with their record (``user_version``): a process that is killed leaves the
ledger as it was, or a whole one. A step that has been released is never edited: a change of the schema is a new step at
the end.
"""

from __future__ import annotations

APPLICATION_ID = 0x50565352
"""``PVSR`` in the header of the file, so that nothing else is taken for a ledger (``PRAGMA application_id``)."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        # With a rowid: results replace rows in place, and a quarter more of them fit into a second than when clustered.
        """CREATE TABLE entries (
            target TEXT NOT NULL,
            name TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN
                ('planned', 'sent', 'created', 'failed', 'parked', 'ambiguous', 'drifted', 'deleted')),
            digest TEXT NOT NULL,
            tags_digest TEXT NOT NULL,
            arn TEXT NOT NULL,
            attempt TEXT NOT NULL,
            sent TEXT,
            updated_at REAL NOT NULL,
            run_id TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            body BLOB,
            PRIMARY KEY (target, name)
        )""",
        """CREATE UNIQUE INDEX entries_by_arn ON entries (arn)
            WHERE state IN ('created', 'drifted') AND arn != ''""",
        # Start-up and reconcile ask for the few entries that are not finished among the many that are.
        "CREATE INDEX entries_unfinished ON entries (target, name, state) WHERE state != 'created'",
        """CREATE TABLE runs (
            run_id TEXT PRIMARY KEY,
            command TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            exit_code INTEGER,
            summary BLOB NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE problems (
            run_id TEXT NOT NULL,
            seq INTEGER NOT NULL,
            source TEXT NOT NULL,
            line INTEGER NOT NULL,
            name TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            column_ INTEGER NOT NULL,
            target TEXT NOT NULL,
            severity TEXT NOT NULL,
            PRIMARY KEY (run_id, seq)
        ) WITHOUT ROWID""",
        """CREATE TABLE paces (
            target TEXT NOT NULL,
            family TEXT NOT NULL,
            state BLOB NOT NULL,
            PRIMARY KEY (target, family)
        ) WITHOUT ROWID""",
    ),
    # A create that may have to be sent again is made from the manifest, never from what stood here.
    ("ALTER TABLE entries DROP COLUMN body",),
    (
        """CREATE TABLE places (
            target TEXT PRIMARY KEY,
            kind TEXT NOT NULL CHECK (kind IN ('aws', 'custom', 'embedded')),
            region TEXT NOT NULL,
            account_id TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE finished (
            target TEXT PRIMARY KEY,
            fingerprint TEXT NOT NULL,
            changes INTEGER NOT NULL,
            lines INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # It stood among the paces before.
        "DELETE FROM paces WHERE family = 'finished'",
    ),
    (
        "ALTER TABLE entries ADD COLUMN tag_keys TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE entries ADD COLUMN request_id TEXT NOT NULL DEFAULT ''",
        # Replacements: few at any time, so the main table keeps its key and its speed.
        """CREATE TABLE incoming (
            target TEXT NOT NULL,
            name TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('planned', 'sent', 'failed', 'parked', 'ambiguous')),
            digest TEXT NOT NULL,
            tags_digest TEXT NOT NULL,
            arn TEXT NOT NULL,
            attempt TEXT NOT NULL,
            sent TEXT,
            updated_at REAL NOT NULL,
            run_id TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            tag_keys TEXT NOT NULL,
            request_id TEXT NOT NULL,
            PRIMARY KEY (target, name)
        ) WITHOUT ROWID""",
        """CREATE TABLE versions (
            arn TEXT PRIMARY KEY,
            target TEXT NOT NULL,
            name TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('superseded', 'deleted')),
            reason TEXT NOT NULL,
            digest TEXT NOT NULL,
            tags_digest TEXT NOT NULL,
            attempt TEXT NOT NULL,
            deletion TEXT NOT NULL,
            sent TEXT,
            updated_at REAL NOT NULL,
            run_id TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            request_id TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX versions_by_name ON versions (target, name)",
        "CREATE INDEX versions_superseded ON versions (target, name) WHERE role = 'superseded'",
        """CREATE TABLE history (
            target TEXT NOT NULL,
            name TEXT NOT NULL,
            at REAL NOT NULL,
            run_id TEXT NOT NULL,
            event TEXT NOT NULL,
            arn TEXT NOT NULL,
            attempt TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            request_id TEXT NOT NULL
        )""",
        "CREATE INDEX history_by_name ON history (target, name)",
        "CREATE INDEX history_by_run ON history (run_id)",
    ),
    # Beside the runs, whose table is listed: a row of samples may have a hundred kilobytes.
    ("CREATE TABLE samples (run_id TEXT PRIMARY KEY, samples BLOB NOT NULL)",),
    (
        """CREATE TABLE pauses (
            target TEXT PRIMARY KEY,
            until REAL NOT NULL,
            since REAL NOT NULL,
            reason TEXT NOT NULL
        ) WITHOUT ROWID""",
    ),
)

SCHEMA_VERSION = len(MIGRATIONS)
