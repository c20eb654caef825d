from .models import cleanroomsml_backends  # noqa: F401
