"""MeToM (CVPR 2026): patch merging, budget-adaptive merging, merging inside the model."""
