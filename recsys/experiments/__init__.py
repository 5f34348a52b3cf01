"""Attribution, A/B tests and KPIs."""
