-- No statement looks for checkouts by this: `checkouts_to_look_after` took its place.
drop index checkouts_unresolved;
