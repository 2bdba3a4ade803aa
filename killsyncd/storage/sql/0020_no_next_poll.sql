-- Nobody ever read it: when a list may be asked for again stands with its pages.
ALTER TABLE sources DROP COLUMN next_poll_at;
