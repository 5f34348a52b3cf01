"""What the shop sells: items, item groups, columns, the rule language and the live state."""
