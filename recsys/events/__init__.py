"""What people do: the event schema, its weights, pseudonyms and the Parquet log."""
