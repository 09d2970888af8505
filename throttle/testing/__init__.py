"""Helpers for tests of programs that call the OpenAI API: a pytest plugin with a simulated server (see `plugin`)."""
