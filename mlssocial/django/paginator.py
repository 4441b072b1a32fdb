"""Pages of a query for views and templates, by cursor, in the shape of ``django.core.paginator``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from django.http import Http404

from mlssocial import InvalidCursorError

if TYPE_CHECKING:
    from mlssocial import Page, Results

T = TypeVar("T")


class CursorPage(Sequence[T], Generic[T]):
    """
    A page: a sequence of items, with what a template asks of Django's own.

    Attributes:
        object_list: The items.
        next_cursor: Where the next page begins, None on the last; safe in a URL.
        unreadable: Rows that were met on the way and cannot be read.
        paginator: The paginator that gave it.
    """

    def __init__(self, page: Page[T], paginator: CursorPaginator[T], cursor: str | None) -> None:
        self.object_list = page.items
        self.next_cursor = page.cursor
        self.unreadable = page.unreadable
        self.paginator = paginator
        self._is_first = cursor is None

    def __repr__(self) -> str:
        return f"<CursorPage of {len(self)}{', and more' if self.has_next() else ''}>"

    def __len__(self) -> int:
        return len(self.object_list)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.object_list[index]

    def has_next(self) -> bool:
        """Tell whether there are more."""
        return self.next_cursor is not None

    def has_previous(self) -> bool:
        """Tell whether a cursor led here. DynamoDB goes back only to the start: a link without a cursor does."""
        return not self._is_first

    def has_other_pages(self) -> bool:
        """Tell whether these are not all."""
        return self.has_next() or self.has_previous()


class CursorPaginator(Generic[T]):
    """
    The pages of a query: ``CursorPaginator(listings.query(), 20).get_page(request.GET.get("cursor"))``.

    A page costs what its items cost, wherever it stands. There are no numbers of pages and no count: to know them DynamoDB
    would have to read everything.
    """

    def __init__(self, object_list: Results[T], per_page: int) -> None:
        self.object_list = object_list
        self.per_page = per_page

    def page(self, cursor: str | None = None) -> CursorPage[T]:
        """Read the page at a cursor, the first one without; InvalidCursorError if it is another query's, or altered."""
        cursor = cursor or None
        return CursorPage(self.object_list.page(limit=self.per_page, cursor=cursor), self, cursor)

    def get_page(self, cursor: str | None = None) -> CursorPage[T]:
        """Read the page at a cursor; the first one where the cursor is of no use, as Django's paginator does."""
        try:
            return self.page(cursor)
        except InvalidCursorError:
            return self.page()


class CursorPaginationMixin:
    """
    Lets a ``ListView`` page through a query by ``?cursor=``; a cursor that is of no use is a 404.

    ``get_queryset()`` gives the query, *paginate_by* says how many; the template has ``page_obj``.
    """

    cursor_kwarg = "cursor"
    request: Any

    def paginate_queryset(self, queryset: Results[T], page_size: int) -> tuple[Any, Any, Any, bool]:
        """Read the page that the request asks for."""
        paginator = CursorPaginator(queryset, page_size)
        try:
            page = paginator.page(self.request.GET.get(self.cursor_kwarg))
        except InvalidCursorError as error:
            raise Http404(str(error)) from error
        return paginator, page, page.object_list, page.has_other_pages()
