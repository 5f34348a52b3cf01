"""What is bought together: co-purchases, association rules, substitutes."""
