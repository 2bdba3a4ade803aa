-- When the last refusal was heard that counts; by the database's clock.
ALTER TABLE lenders ADD COLUMN refused_at {real};
