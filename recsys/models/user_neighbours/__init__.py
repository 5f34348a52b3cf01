"""Neighbour customers: TIFU-KNN and UP-CF."""
