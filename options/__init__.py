"""Option files; the wheel holds them as the package ``deplsr_options``, an entry point of ``basicsr.options``."""
