"""The pipeline that brings killmails home: producer, consumer, fetcher and what they are made of. Knows esi, auth, core."""
