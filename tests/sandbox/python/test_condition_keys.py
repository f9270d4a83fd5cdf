"""The condition keys of requests, without a server. Run by tests/python.rs."""

import unittest

from gaps.condition_keys import attributes, leading_keys, of_batch, of_event, of_operation, top_level_names
from gaps.iam import substitute


class Expressions(unittest.TestCase):
    def test_an_update_names_what_it_sets_removes_and_reads(self):
        expression = (
            "SET seq = if_not_exists(seq, :z) + :one, #h.#x = list_append(path[0].deep, :l) "
            "REMOVE claim ADD n :one"
        )
        self.assertEqual(
            top_level_names(expression, {"#h": "health", "#x": "inner"}),
            ["seq", "seq", "health", "path", "claim", "n"],
        )

    def test_a_condition_names_attributes_and_neither_functions_nor_values(self):
        expression = (
            "attribute_not_exists(pk) AND size (history) > :n OR NOT begins_with(sk, :p) "
            "and #e BETWEEN :a AND :b"
        )
        self.assertEqual(top_level_names(expression, {"#e": "epoch"}), ["pk", "history", "sk", "epoch"])

    def test_a_list_of_values_is_no_attribute(self):
        self.assertEqual(top_level_names("#s IN (:a, :b)", {"#s": "state"}), ["state"])

    def test_keys_projections_and_old_parameters_count(self):
        request = {
            "Key": {"pk": {"S": "x"}, "sk": {"S": "y"}},
            "ProjectionExpression": "a.b, c[1]",
            "AttributesToGet": ["d"],
            "Expected": {"e": {"Exists": False}},
            "AttributeUpdates": {"f": {"Value": {"N": "1"}}},
        }
        self.assertEqual(attributes(request), ["a", "c", "d", "e", "f", "pk", "sk"])


class LeadingKeys(unittest.TestCase):
    def test_of_an_item_and_of_a_key(self):
        self.assertEqual(leading_keys({"Item": {"pk": {"S": "x"}, "v": {"N": "1"}}}, "pk"), ["x"])
        self.assertEqual(leading_keys({"Key": {"pk": {"N": "12"}}}, "pk"), ["12"])

    def test_of_a_query_through_placeholders_on_either_side_of_and(self):
        request = {
            "KeyConditionExpression": "begins_with(sk, :p) AND #k = :v",
            "ExpressionAttributeNames": {"#k": "pk"},
            "ExpressionAttributeValues": {":v": {"S": "C#orders"}, ":p": {"S": "EVENT#"}},
        }
        self.assertEqual(leading_keys(request, "pk"), ["C#orders"])

    def test_a_scan_has_none(self):
        self.assertNotIn(
            "dynamodb:leadingkeys", of_operation({"TableName": "t", "FilterExpression": "a = :a"}, "pk")
        )

    def test_a_batch_has_those_of_all_its_parts(self):
        request = {
            "RequestItems": {
                "t": [
                    {"PutRequest": {"Item": {"pk": {"S": "a"}, "x": {"N": "1"}}}},
                    {"DeleteRequest": {"Key": {"pk": {"S": "b"}}}},
                ],
                "u": {"Keys": [{"id": {"S": "c"}}], "ProjectionExpression": "y"},
            }
        }
        found = of_batch(request, lambda table, _index: "id" if table == "u" else "pk")
        self.assertEqual(found["dynamodb:leadingkeys"], ["a", "b", "c"])
        self.assertEqual(found["dynamodb:attributes"], ["id", "pk", "x", "y"])


class Others(unittest.TestCase):
    def test_return_values_are_a_key_only_where_they_were_asked_for(self):
        self.assertNotIn("dynamodb:returnvalues", of_operation({"Key": {}}, "pk"))
        self.assertEqual(
            of_operation({"Key": {}, "ReturnValues": "ALL_OLD"}, "pk")["dynamodb:returnvalues"], "ALL_OLD"
        )

    def test_an_event_has_its_source_and_its_type(self):
        self.assertEqual(
            of_event({"Source": "baton.agent", "DetailType": "Wake"}),
            {"events:source": "baton.agent", "events:detail-type": "Wake"},
        )

    def test_a_variable_without_value_stays_and_one_with_a_default_takes_it(self):
        known = {"ec2:SourceInstanceARN": "arn:i-1"}.get
        self.assertEqual(substitute("C#I#${ec2:SourceInstanceARN}", known), "C#I#arn:i-1")
        self.assertEqual(substitute("C#${aws:nothing}", known), "C#${aws:nothing}")
        self.assertEqual(substitute("${aws:nothing, 'none'}-${*}", known), "none-*")


if __name__ == "__main__":
    unittest.main()
