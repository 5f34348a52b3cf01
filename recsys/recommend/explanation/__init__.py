"""Why an item is recommended: reasons and their phrases in every language."""
