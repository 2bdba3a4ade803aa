"""What everybody may know: nouns, the killmail, errors, time, events, logging. Knows nobody."""
