"""The story: roadmap, plan, claim, develop, check, review, train, verify, report."""
