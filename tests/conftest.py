"""pytest fixtures shared by every test: a Postgres, a home, repositories."""
