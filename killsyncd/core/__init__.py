"""What everybody may know: nouns, the killmail, sources, errors, time, events, logging. Knows nobody."""
