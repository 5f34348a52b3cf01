"""Item-to-item models: item-item neighbours, EASE, random walks."""
