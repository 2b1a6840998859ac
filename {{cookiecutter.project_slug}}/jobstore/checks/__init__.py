"""System checks: what cannot work is refused with a sentence that says what to change."""
