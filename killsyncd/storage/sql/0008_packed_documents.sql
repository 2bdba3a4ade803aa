-- Documents are stored deflated (storage/documents.py). size: bytes before; NULL where the text stands as it is.
ALTER TABLE killmail_documents ADD COLUMN size {int};
-- The task that looked through documents goes through those once more, and packs them.
DELETE FROM meta WHERE key = 'documents_checked_to';
