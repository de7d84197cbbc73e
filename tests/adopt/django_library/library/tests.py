from django.db import IntegrityError, connection, transaction
from django.test import TestCase

from library.models import Book


class BookTests(TestCase):
    def test_a_book_is_listed(self):
        Book.objects.create(title="Walden")
        self.assertEqual(self.client.get("/books").json(), {"books": [{"title": "Walden", "lent": False}]})

    def test_a_book_needs_a_title(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Book.objects.create(title=None)

    def test_it_is_postgresql(self):
        self.assertEqual(connection.vendor, "postgresql")
        self.assertTrue(self.client.get("/ready").json()["ready"])
