-- By what a webhook's address is known again: 16 bits of a digest, which tell that it is another one and not what it is.
ALTER TABLE webhooks ADD COLUMN address_mark {int};
