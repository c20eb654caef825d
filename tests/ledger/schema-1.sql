PRAGMA application_id = 1347834706;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE entries (
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
        );
INSERT INTO "entries" VALUES('default','a','created','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt','arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/00000000000000000000000000000001','a1','{"wall":1790000000.125,"boot":"boot","ticks":17.25}',1790000000.125,'run-1','','',X'');
INSERT INTO "entries" VALUES('default','b','sent','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt','','a1','{"wall":1790000000.125,"boot":"boot","ticks":17.25}',1790000000.125,'run-1','','',X'7B226E616D65223A2262227D');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('ledger_id','0123456789abcdef');
INSERT INTO "meta" VALUES('opened_at','2026-11-23T20:33:44Z');
CREATE TABLE paces (
            target TEXT NOT NULL,
            family TEXT NOT NULL,
            state BLOB NOT NULL,
            PRIMARY KEY (target, family)
        ) WITHOUT ROWID;
INSERT INTO "paces" VALUES('default','create',X'7B2272617465223A342E39387D');
CREATE TABLE problems (
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
        ) WITHOUT ROWID;
CREATE TABLE runs (
            run_id TEXT PRIMARY KEY,
            command TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            exit_code INTEGER,
            summary BLOB NOT NULL
        ) WITHOUT ROWID;
INSERT INTO "runs" VALUES('run-1','apply',1790000000.125,NULL,NULL,X'');
CREATE UNIQUE INDEX entries_by_arn ON entries (arn)
            WHERE state IN ('created', 'drifted') AND arn != '';
CREATE INDEX entries_unfinished ON entries (target, name, state) WHERE state != 'created';
COMMIT;
