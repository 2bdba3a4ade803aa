-- Where killmails go: how far each webhook is in the feed, and what became of what it sent. No address is kept here.

CREATE TABLE webhooks (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    -- Every mail up to this feed position is settled: delivered, set aside, or left out by the filter.
    position {int} NOT NULL,
    created_at {real} NOT NULL,
    paused_at {real},
    -- The other side refuses all (401, 404): nothing is sent until somebody resumes it.
    stopped_at {real},
    -- Why it stopped, or what the last attempt that failed met; without any address.
    error TEXT,
    failing_at {real},
    attempts {int} NOT NULL DEFAULT 0,
    not_before {real} NOT NULL DEFAULT 0,
    -- The mail whose request has left; what came of it is not known until this is empty again.
    sending_id {int},
    sending_at {real},
    -- Discord's channel, as its answers name it: webhooks of one channel share its limit.
    channel TEXT,
    -- Mails up to replay_to that were killed since replay_since are sent whether they are fresh or not.
    replay_to {int} NOT NULL DEFAULT 0,
    replay_since {real} NOT NULL DEFAULT 0,
    delivered {int} NOT NULL DEFAULT 0,
    set_aside {int} NOT NULL DEFAULT 0,
    left_out {int} NOT NULL DEFAULT 0,
    delivered_at {real},
    leased_at {real},
    holder TEXT REFERENCES daemons (id) ON DELETE SET NULL
) {strict};
CREATE INDEX webhooks_by_holder ON webhooks (holder) WHERE holder IS NOT NULL;

-- What was sent, and by which message it can be asked for; or why the other side will never take it.
CREATE TABLE webhook_deliveries (
    name TEXT NOT NULL REFERENCES webhooks (name) ON DELETE CASCADE,
    killmail_id {int} NOT NULL,
    delivered_at {real} NOT NULL,
    message_id TEXT,
    refused TEXT,
    PRIMARY KEY (name, killmail_id)
) {strict_clustered};
CREATE INDEX webhook_deliveries_refused ON webhook_deliveries (name, delivered_at) WHERE refused IS NOT NULL;

-- Requests of the last minute, by the time they were answered: the other side counted them no later.
CREATE TABLE webhook_requests (
    name TEXT NOT NULL REFERENCES webhooks (name) ON DELETE CASCADE,
    sent_at {real} NOT NULL,
    PRIMARY KEY (name, sent_at)
) {strict_clustered};
