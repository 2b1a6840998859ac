"""The store's own tests, in folders as its code; what they share lies here."""
