"""The story, in order: roadmap, plan, claim, workspace, develop, check, review, settle, train, verify, report."""
