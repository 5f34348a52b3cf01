"""Models of low rank: ALS, iALS, BPR, LightFM, spectral filters."""
