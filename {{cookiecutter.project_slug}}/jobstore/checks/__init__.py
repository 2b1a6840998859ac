"""System checks: a project that cannot work is refused with a sentence that says what to change."""
