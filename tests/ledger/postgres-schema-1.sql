CREATE SCHEMA LEDGER;
CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE entries (
    target text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN
        ('planned', 'sent', 'created', 'failed', 'parked', 'ambiguous', 'drifted', 'deleted')),
    digest text NOT NULL,
    tags_digest text NOT NULL,
    arn text COLLATE "C" NOT NULL,
    attempt text NOT NULL,
    sent json,
    updated_at double precision NOT NULL,
    run_id text NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    tag_keys text NOT NULL,
    request_id text NOT NULL,
    PRIMARY KEY (target, name)
);
CREATE UNIQUE INDEX entries_by_arn ON entries (arn)
    WHERE state IN ('created', 'drifted') AND arn <> '';
CREATE INDEX entries_unfinished ON entries (target, name, state) WHERE state <> 'created';
CREATE TABLE runs (
    run_id text COLLATE "C" NOT NULL PRIMARY KEY,
    command text NOT NULL,
    started_at double precision NOT NULL,
    ended_at double precision,
    exit_code integer,
    summary bytea NOT NULL
);
CREATE TABLE problems (
    run_id text COLLATE "C" NOT NULL,
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
);
CREATE TABLE paces (
    target text COLLATE "C" NOT NULL,
    family text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (target, family)
);
CREATE TABLE places (
    target text COLLATE "C" NOT NULL PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('aws', 'custom', 'embedded')),
    region text NOT NULL,
    account_id text NOT NULL
);
CREATE TABLE finished (
    target text COLLATE "C" NOT NULL PRIMARY KEY,
    fingerprint text NOT NULL,
    changes bigint NOT NULL,
    lines bigint NOT NULL
);
CREATE TABLE changes (
    target text COLLATE "C" NOT NULL PRIMARY KEY,
    commits bigint NOT NULL
);
CREATE TABLE lease (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    epoch bigint NOT NULL,
    nonce text NOT NULL,
    holder text NOT NULL,
    taken_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    commits bigint NOT NULL
);
INSERT INTO meta VALUES ('schema', '1'), ('ledger_id', '0123456789abcdef');
INSERT INTO entries VALUES
    ('default', 'a', 'created', repeat('d', 64), repeat('t', 64),
        'arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/00000000000000000000000000000001',
        'a1', '{"wall":1790000000.125,"boot":"boot","ticks":17.25}', 1790000000.125, 'run-1', '', '', '', ''),
    ('default', 'b', 'sent', repeat('d', 64), repeat('t', 64),
        '', 'a1', '{"wall":1790000000.125,"boot":"boot","ticks":17.25}', 1790000000.125, 'run-1', '', '', '', '');
INSERT INTO paces VALUES ('default', 'create', '{"rate":4.98}');
INSERT INTO runs VALUES ('run-1', 'apply', 1790000000.125, NULL, NULL, '');
INSERT INTO changes VALUES ('default', 2);
