-- When ESI said that a corporation was closed (NULL: it never did), and from when it may be asked again.
ALTER TABLE sources ADD COLUMN closed_at {real};
ALTER TABLE sources ADD COLUMN closed_due_at {real} NOT NULL DEFAULT 0;
