-- What a sync request waits for until not_before (core/model.py, WaitsFor); NULL: nothing, or nobody said.
ALTER TABLE wants ADD COLUMN waits_for TEXT;

-- ESI's time from which nothing more can be spent of a reservation that was never settled, because the requests
-- of the process that made it have certainly ended. NULL: settled, or seen in ESI's own count.
ALTER TABLE spends ADD COLUMN open_until {real};
