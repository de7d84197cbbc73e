import os

SECRET_KEY = "for-tests-only"
DEBUG = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["library"]
ROOT_URLCONF = "library.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["DB_HOST"],
        "PORT": os.environ.get("DB_PORT", "5432"),
        "USER": os.environ.get("DB_USER", "postgres"),
        "PASSWORD": os.environ.get("DB_PASSWORD", "library"),
        "NAME": os.environ.get("DB_NAME", "postgres"),
    }
}
